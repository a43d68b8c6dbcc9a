"""What is published: completed CIFs that read back, an OPTIMADE export, and a manifest."""
