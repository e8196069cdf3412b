"""Hosted models: the client over OpenAI's protocol, its transport, failures and Batch API."""
