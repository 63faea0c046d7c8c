DROP TABLE cache_epochs, cache_invalidations;
