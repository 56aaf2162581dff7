"""The site that the gateway is measured on: the product, and a service that does no work."""
