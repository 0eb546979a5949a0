"""What a CRM touches: the HTTP API. It stands on `worker`, and `worker` knows nothing of it."""
