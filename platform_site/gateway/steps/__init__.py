"""What a request passes, one step a file; `platform_site.gateway.pipeline` has their order."""
