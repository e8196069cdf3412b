"""Any backend behind OpenAI's API on this machine, and the scripted fake that ships."""
