"""From a reply's text to annotations: Python and JSON, repaired by named rules, never evaluated."""
