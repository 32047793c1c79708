"""What the routes of this library share: who may call, which page asks, and JSON in both directions."""
