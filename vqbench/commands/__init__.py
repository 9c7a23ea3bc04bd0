"""What the commands do. Whatever is heavy is imported when it is needed."""
