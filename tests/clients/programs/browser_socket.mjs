// A WebSocket as a browser opens it: no headers, the key as a protocol. Prints what it found as JSON.
import WebSocket from 'ws';

const url = process.env.BASE_URL.replace(/^http/, 'ws') + '/chat/completions/ws';
const socket = new WebSocket(url, ['shipway', `openai-insecure-api-key.${process.env.KEY}`]);
const found = [];
socket.on('open', () =>
  socket.send(JSON.stringify({ model: 'chat', messages: [{ role: 'user', content: 'red green' }] })),
);
socket.on('message', (data) => {
  const value = JSON.parse(data);
  found.push(value);
  if (value.type === 'done' || value.error) socket.close();
});
socket.on('close', (code) => console.log(JSON.stringify({ code, protocol: socket.protocol, found })));
