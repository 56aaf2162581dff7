"""The OpenAPI document and the code agree."""
