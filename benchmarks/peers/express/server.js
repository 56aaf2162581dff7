'use strict';

// A gateway of the usual packages, each with the product's numbers and otherwise on its defaults.
// From the environment: PORT, REDIS_URL, UPSTREAM_URL and WORKERS, the number of processes.

const cluster = require('node:cluster');
const http = require('node:http');

const compression = require('compression');
const express = require('express');
const { rateLimit } = require('express-rate-limit');
const helmet = require('helmet');
const { createProxyMiddleware } = require('http-proxy-middleware');
const CircuitBreaker = require('opossum');
const { RedisStore } = require('rate-limit-redis');
const { createClient } = require('redis');

const WORKERS = Number(process.env.WORKERS);
const ANSWER = { ok: true, data: 'x'.repeat(100) };
// What works at once; of opossum's requests, as many may wait beside them as wait in the product.
const SIZE = 15;
const QUEUE_MAX = 100;

function breaker(action) {
  return new CircuitBreaker(action, {
    timeout: 30_000,
    errorThresholdPercentage: 50,
    resetTimeout: 30_000,
    volumeThreshold: 20,
    capacity: SIZE + QUEUE_MAX,
  });
}

function limiter(client) {
  return rateLimit({
    windowMs: 15 * 60 * 1000,
    limit: 1_000_000_000,
    standardHeaders: 'draft-7',
    legacyHeaders: true,
    store: new RedisStore({ sendCommand: (...command) => client.sendCommand(command) }),
  });
}

function proxy() {
  const forward = createProxyMiddleware({
    target: process.env.UPSTREAM_URL,
    agent: new http.Agent({ keepAlive: true, maxSockets: SIZE }),
  });
  return (request, response) =>
    new Promise((resolve, reject) => {
      response.once('close', resolve);
      forward(request, response, reject);
    });
}

async function serve() {
  const client = createClient({ url: process.env.REDIS_URL });
  await client.connect();
  const local = breaker(async () => ANSWER);
  const remote = breaker(proxy());

  const app = express();
  app.use(helmet());
  app.use(compression());
  app.get('/health', (request, response) => response.json({}));
  app.use(limiter(client));
  app.get('/api/payments/stub', async (request, response) => response.json(await local.fire()));
  app.get('/api/events/stub', (request, response) => remote.fire(request, response));
  // Four arguments make it the handler of errors: an open breaker, a full one, a lost upstream.
  app.use((error, request, response, next) => {
    if (response.headersSent) next(error);
    else response.status(503).json({ detail: error.message });
  });
  app.listen(Number(process.env.PORT), '127.0.0.1');
}

if (WORKERS > 1 && cluster.isPrimary) {
  for (let number = 0; number < WORKERS; number += 1) cluster.fork();
} else {
  serve();
}
