-- name: create_product
-- No row: there is one with this sku.
INSERT INTO products (user_id, name, sku, price, description, image_url, is_active, stock)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_id, sku) DO NOTHING RETURNING id;

-- name: product_with_sku
SELECT id FROM products WHERE user_id = $1 AND sku = $2;

-- name: read_product
SELECT p.id, p.name, p.sku, p.price, u.currency, p.description, p.image_url,
       coalesce(p.is_active, false) AS is_active, p.stock, p.created_at, p.updated_at, p.version
  FROM products p JOIN users u ON u.id = $1
 WHERE p.user_id = $1 AND p.id = $2;

-- name: lock_product
SELECT version FROM products WHERE user_id = $1 AND id = $2 FOR UPDATE;

-- name: change_product
SELECT change_product($1, $2, $3, $4, $5, $6, $7, $8, $9) AS other;

-- name: delete_product
DELETE FROM products WHERE user_id = $1 AND id = $2;

-- name: list_products
-- Youngest first, in pages: those below $2, $3 at most, and so many that they have $4 bytes.
WITH found AS (
    SELECT p.* FROM products p WHERE p.user_id = $1 AND p.id < $2 ORDER BY p.id DESC LIMIT $3 + 1
), measured AS (
    SELECT f.*, row_number() OVER newest AS place,
           sum(octet_length(f::text)) OVER newest AS bytes
      FROM found f WINDOW newest AS (ORDER BY f.id DESC)
)
SELECT m.id, m.name, m.sku, m.price, u.currency, m.description, m.image_url,
       coalesce(m.is_active, false) AS is_active, m.stock, m.created_at, m.updated_at,
       count(*) OVER () < (SELECT count(*) FROM found) AS more
  FROM measured m JOIN users u ON u.id = $1
 WHERE m.place <= $3 AND (m.bytes <= $4 OR m.place = 1)
 ORDER BY m.id DESC;

-- name: list_products_by_state
-- As list_products, of those that are active, or not ($5).
WITH found AS (
    SELECT p.* FROM products p
     WHERE p.user_id = $1 AND coalesce(p.is_active, false) = $5 AND p.id < $2
     ORDER BY p.id DESC LIMIT $3 + 1
), measured AS (
    SELECT f.*, row_number() OVER newest AS place,
           sum(octet_length(f::text)) OVER newest AS bytes
      FROM found f WINDOW newest AS (ORDER BY f.id DESC)
)
SELECT m.id, m.name, m.sku, m.price, u.currency, m.description, m.image_url,
       coalesce(m.is_active, false) AS is_active, m.stock, m.created_at, m.updated_at,
       count(*) OVER () < (SELECT count(*) FROM found) AS more
  FROM measured m JOIN users u ON u.id = $1
 WHERE m.place <= $3 AND (m.bytes <= $4 OR m.place = 1)
 ORDER BY m.id DESC;

-- name: priced
-- What is sold now, of these skus.
SELECT sku, name, price, stock FROM products
 WHERE user_id = $1 AND sku = ANY ($2::text[]) AND is_active;

-- name: hold_stock
-- Of these skus those that are counted: nobody else takes of them until the transaction ends. In the
-- order of their ids, as everybody does who takes several.
SELECT id FROM products
 WHERE user_id = $1 AND sku = ANY ($2::text[]) AND stock IS NOT NULL
 ORDER BY id FOR NO KEY UPDATE;

-- name: catalogue_version
SELECT coalesce((SELECT c.version FROM catalogues c WHERE c.user_id = $1), 0) AS version;

-- name: searched_products
-- What a search looks through: the newest $2 that are sold and can be ordered.
SELECT id, name, sku, left(description, 1000) AS description FROM products
 WHERE user_id = $1 AND coalesce(is_active, false) = true AND sku IS NOT NULL
 ORDER BY id DESC LIMIT $2;

-- name: products_shown
-- As they are now; the sku that is exactly $3 too.
SELECT p.id, p.name, p.sku, p.price, p.stock, left(p.description, 300) AS description
  FROM products p
 WHERE p.user_id = $1 AND p.is_active AND p.sku IS NOT NULL
   AND (p.id = ANY ($2::bigint[]) OR p.sku = $3);
