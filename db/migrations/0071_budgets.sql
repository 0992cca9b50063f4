-- How much a turn of a chatbot may take: input_tokens, knowledge_tokens, output_tokens, cost. What is
-- missing has the product's own value.
ALTER TABLE chatbots ADD COLUMN budgets jsonb NOT NULL DEFAULT '{}';
