"""Training of acoustic models; needs the `train` extra. Nothing else imports it."""
