drop index subscribers_merged;
