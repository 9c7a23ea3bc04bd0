"""Write the page of a measured folder of images."""
