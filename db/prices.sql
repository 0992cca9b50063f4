-- name: import_prices
-- A price of the same model, kind and day is replaced. In the order of the file: inserted or not.
INSERT INTO model_prices AS p (model, kind, valid_from, input_price, cached_price, output_price)
SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::numeric[], $5::numeric[], $6::numeric[])
ON CONFLICT (model, kind, valid_from) DO UPDATE
   SET input_price = EXCLUDED.input_price, cached_price = EXCLUDED.cached_price,
       output_price = EXCLUDED.output_price
RETURNING (p.xmax = 0) AS inserted;

-- name: rates
-- As count_model_calls() has them: the kind's own price before everybody's, the latest that is valid.
SELECT DISTINCT ON (p.model) p.model, p.input_price, p.cached_price, p.output_price
  FROM model_prices p
  JOIN users u ON u.id = $1
 WHERE p.model = ANY ($2::text[]) AND p.kind IN ($3, '*')
   AND p.valid_from <= usage_day(u.timezone, u.usage_day_floor)
 ORDER BY p.model, p.kind = '*', p.valid_from DESC;
