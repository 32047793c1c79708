"""What other packages load to connect a product without code of its own."""
