// OpenAI's SDK for Node as a client; prints what it found as JSON.
import OpenAI from 'openai';

const baseURL = process.env.BASE_URL;
const client = new OpenAI({ baseURL, apiKey: process.env.KEY, maxRetries: 0, timeout: 20000 });
const messages = [{ role: 'user', content: 'red green blue' }];
const tools = [
  {
    type: 'function',
    function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
  },
];

async function raised(call, other = client) {
  try {
    await other.chat.completions.create({ model: 'chat', messages, ...call });
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, request: error.requestID ?? null };
  }
  return { name: 'nothing' };
}

async function brokenStream() {
  let said = '';
  try {
    for await (const chunk of await client.chat.completions.create({ model: 'chat-cut_mid', messages, stream: true })) {
      said += chunk.choices[0]?.delta?.content ?? '';
    }
  } catch (error) {
    return [said, error.constructor.name];
  }
  return [said, 'nothing'];
}

async function retried() {
  const seen = [];
  const patient = new OpenAI({
    baseURL,
    apiKey: process.env.KEY,
    maxRetries: 1,
    fetch: async (...call) => {
      seen.push(Date.now());
      return fetch(...call);
    },
  });
  await raised({ model: 'chat-rate_429' }, patient);
  return { calls: seen.length, waited_ms: seen[1] - seen[0] };
}

async function left() {
  const stream = await client.chat.completions.create({
    model: 'chat-slow',
    messages: [{ role: 'user', content: 'left '.repeat(400) }],
    stream: true,
  });
  for await (const _ of stream) break;
  return true;
}

const whole = await client.chat.completions.create({ model: 'chat', messages });
const stream = client.chat.completions.stream({ model: 'chat', messages, stream_options: { include_usage: true } });
const final = await stream.finalChatCompletion();
const called = await client.chat.completions.create({ model: 'chat', messages, tools });
const vectors = await client.embeddings.create({ model: 'chat', input: ['a', 'b'] });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const response = await client.responses.create({ model: 'chat', input: 'hello' });
const kinds = [];
for await (const event of await client.responses.create({ model: 'chat', input: 'hello', stream: true })) {
  kinds.push(event.type);
}
const shaped = await client.chat.completions.create({
  model: 'chat',
  messages,
  response_format: {
    type: 'json_schema',
    json_schema: { name: 'c', schema: { type: 'object', properties: { name: { type: 'string' } } } },
  },
});

console.log(
  JSON.stringify({
    text: whole.choices[0].message.content,
    streamed: final.choices[0].message.content,
    stream_usage: final.usage?.total_tokens ?? null,
    tool: JSON.parse(called.choices[0].message.tool_calls[0].function.arguments),
    vectors: vectors.data.map((item) => item.embedding.length),
    models,
    response: response.output_text,
    kinds: [kinds[0], kinds.at(-1)],
    shaped: JSON.parse(shaped.choices[0].message.content),
    errors: {
      unknown: await raised({ model: 'nope' }),
      rate: await raised({ model: 'chat-rate_429' }),
      server: await raised({ model: 'chat-error_500' }),
      request: await raised({ messages: [] }),
      key: await raised({}, new OpenAI({ baseURL, apiKey: 'swk_wrong', maxRetries: 0 })),
    },
    cut: await brokenStream(),
    retried: await retried(),
    left: await left(),
  }),
);
