"""When a call may go out: rate limits, server quotas, the concurrency window, retries."""
