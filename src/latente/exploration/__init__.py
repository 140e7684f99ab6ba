"""What a trained generator knows: moving about in its latent space."""
