"""How answers come in: live calls, batches, leases on keys, and what whoever watches is told."""
