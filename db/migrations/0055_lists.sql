-- Lists by what they can be filtered by, each in the order of its pages. Writers of these tables wait
-- while an index is built: two seconds for a million conversations.

-- By an expression, in which those lists are ordered, so that no other index gives their order: where
-- few rows are asked for, the primary key was walked through everybody's.
CREATE INDEX conversations_chatbot ON conversations (user_id, chatbot_id, (id + 0));
CREATE INDEX conversations_unanswered ON conversations (user_id, (id + 0))
    WHERE input_seq > answered_seq;
-- Until they are handed back, in the order of pages; until a moment, by it: those of before are many.
CREATE INDEX conversations_held ON conversations (user_id, (id + 0))
    WHERE taken_over_until = 'infinity';
CREATE INDEX conversations_held_until ON conversations (user_id, taken_over_until)
    WHERE taken_over_until < 'infinity';
CREATE INDEX contacts_paused ON contacts (user_id, id) WHERE conversation_paused;

CREATE INDEX actions_status ON actions (user_id, status, (id + 0));
CREATE INDEX actions_chatbot ON actions (user_id, chatbot_id, (id + 0));
