// A server that speaks the protocol of S3 and checks signatures: node s3.cjs HOST PORT DIRECTORY
const S3rver = require("@20minutes/s3rver");

const [address, port, directory] = process.argv.slice(2);
new S3rver({ address, port: Number(port), directory, silent: true, configureBuckets: [{ name: "shop" }] }).run();
