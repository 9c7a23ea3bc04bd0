"""Images and codes as users have them, read part by part."""
