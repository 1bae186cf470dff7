"""The secrets that callers show: tokens of people and devices, and how often wrong ones are listened to."""
