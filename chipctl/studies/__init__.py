"""One module per published figure or experiment, run on the chip."""
