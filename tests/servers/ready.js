// An echo server with one thread for all clients: all that labs 5 and 6 promise. The runtime around it has threads of its own.

const net = require("node:net");

const server = net.createServer({ allowHalfOpen: true }, (client) => {
  client.on("error", () => client.destroy());
  // Reads only as long as what it writes is taken, and ends its side behind the last byte.
  client.pipe(client);
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 1024 });
