"""What a retraining reaches outside: the branch it commits to, the pull request it comments on."""
