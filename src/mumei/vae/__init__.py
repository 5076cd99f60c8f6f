"""Auto-Encoding Variational Bayes: a latent space, samples, anomaly scores and an honest likelihood for unlabelled data."""
