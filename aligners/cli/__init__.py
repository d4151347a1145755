"""Options that several alignment commands share."""
