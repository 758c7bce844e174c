"""The training of a sparse autoencoder."""
