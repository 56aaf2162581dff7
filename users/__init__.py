"""Who is calling: users, tokens, API keys, scopes and notification preferences."""
