"""The request for a conversion: options, source, plan of variants and names, checked before anything heavy starts."""
