"""headhunt beside what a user would otherwise run: the same notes, split, configs and epochs.

The model is the frozen all-MiniLM-L6-v2 with an adapter of width 64, mean pooling and a classifier.
1. headhunt, without rungs, so that every trial trains all its epochs;
2. `transformers.Trainer.hyperparameter_search`, the encoder inside the model, in bf16 where the
   processor computes in it;
3. a Ray Tune function with `OptunaSearch`, as its documentation writes one, the encoder inside;
4. the same on features that were encoded once and stored.

Two processors: headhunt and Ray run two trials at a time with one thread each, the Trainer one with
two. Each engine has a process of its own. Peers run the first configs of headhunt's, and are
extrapolated from them: what an engine needs once counts once, and every trial costs the mean of
those that ran. `python -m benchmarks.peers --help` tells the sizes.
"""
