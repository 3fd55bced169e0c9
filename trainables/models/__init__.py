"""Models: heads, scratch models, baselines and backbones."""
