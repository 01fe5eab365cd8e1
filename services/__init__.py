"""The five services. They meet through Kafka and through tables with one owner each, never by import."""
