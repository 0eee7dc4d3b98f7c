"""How to talk to the engines that run models."""
