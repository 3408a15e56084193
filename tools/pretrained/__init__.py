"""Published weights of EfficientNet-Lite, fetched once and converted into Keras's format."""
