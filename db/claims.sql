-- name: numbers_taken
-- Across tenants: by another chatbot than $1 (NULL: one that is not there yet), and proven.
SELECT what FROM numbers_taken($1, $2, $3);

-- name: seek_proof
-- Graph is asked now, and for $3 while it is away; or, with $4, the tenant is told why it is not.
-- What was asked of it before says nothing any more.
UPDATE chatbots
   SET proof_seq = proof_seq + 1, proof_tries = 0, number_problem = $4,
       proof_due_at = CASE WHEN $5 THEN now() END,
       proof_until = CASE WHEN $5 THEN now() + $3::interval END
 WHERE user_id = $1 AND id = $2;

-- name: name_numbers
-- As an operator names them, who proves them next. What it has stays.
UPDATE chatbots
   SET claimed_number = coalesce(claimed_number,
           CASE WHEN whatsapp_phone_number IS NULL THEN $3::text END),
       claimed_phone_number_id = coalesce(claimed_phone_number_id,
           CASE WHEN phone_number_id IS NULL THEN $4::text END),
       proof_seq = proof_seq + 1
 WHERE user_id = $1 AND id = $2
RETURNING proof_seq;

-- name: claim_proofs
-- Across tenants.
SELECT user_id, chatbot_id, epoch AS proof_seq FROM claim_proofs($1, $2);

-- name: read_claim
SELECT id, claimed_number, claimed_phone_number_id, claimed_waba_id, whatsapp_phone_number,
       phone_number_id, access_token, proof_tries, coalesce(proof_until <= now(), true) AS too_late
  FROM chatbots WHERE user_id = $1 AND id = $2 AND proof_seq = $3;

-- name: prove_number
SELECT outcome FROM prove_number($1, $2, $3);

-- name: prove_account
UPDATE chatbots SET waba_id = claimed_waba_id, claimed_waba_id = NULL
 WHERE user_id = $1 AND id = $2 AND proof_seq = $3 AND claimed_waba_id IS NOT NULL;

-- name: settle_proof
UPDATE chatbots
   SET number_problem = $4, proof_due_at = now() + $5::interval, proof_tries = proof_tries + 1
 WHERE user_id = $1 AND id = $2 AND proof_seq = $3;

-- name: unpark
SELECT unpark($1, $2) AS taken;

-- name: number_confirmed_at
SELECT number_confirmed_at FROM chatbots WHERE user_id = $1 AND id = $2;
