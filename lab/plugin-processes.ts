/** What the command lines of the plugin's processes look like on a host of the lab. */
export const PLUGIN_PROCESSES = {
  entrypoint: /^\/app\/build\/entrypoint/,
  plugin: /node .*\/plugin\/main\.js/,
  agent: /node .*\/agent\/main\.js/,
  'nats-server': /nats-server -c/,
} as const
