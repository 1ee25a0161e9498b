-- What a write has to know of a job; of which one, whoever asks adds. The columns are read by their place in this list.
SELECT seq, id, endpoint, state, attempt, drained, crashes, worker, webhook, cancel_outcome
FROM jobs
