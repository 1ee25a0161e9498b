-- Whose jobs of normal priority wait, in the order of their turns. ?1 how many may be at work for one key, or null;
-- jobs without a key know no such limit.
SELECT key
FROM turns
WHERE normal > 0
  AND (?1 IS NULL OR key = '' OR at_work < ?1)
-- Fewest at work first, then who waited longest; those who never had a turn in the order they came.
ORDER BY at_work, served, id
