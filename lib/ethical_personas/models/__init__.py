"""Base models, chats and decoding."""
