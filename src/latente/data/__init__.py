"""What the models see: sets of images, uint8 at rest, and streams of batches."""
