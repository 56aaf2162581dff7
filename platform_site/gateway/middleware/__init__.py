"""What is left for Django's own middleware; the gateway has done the rest before."""
