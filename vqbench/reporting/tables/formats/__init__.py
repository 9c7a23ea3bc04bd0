"""The formats of tables, and the lines and notes that they share."""
