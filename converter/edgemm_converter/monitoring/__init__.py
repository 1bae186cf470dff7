"""What a bundle carries to monitor its model without labels: made at conversion of labelled data and corruptions."""
