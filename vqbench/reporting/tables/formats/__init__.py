"""How tables look: their lines and notes before any format, and each format."""
