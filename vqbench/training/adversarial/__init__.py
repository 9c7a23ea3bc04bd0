"""What an adversarial training is made of: losses, discriminators, averages of weights, passes through the model."""
