"""Second stages: generators on the latents of trained autoencoders."""
