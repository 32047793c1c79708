"""The smallest pipeline: a program that prints."""

print("Hello from Fast-Flow.")
