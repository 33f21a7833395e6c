package rpc

// commands is the whole API.
func commands() map[string]command {
	none := map[string]string{}
	return map[string]command{
		"version": {map[string]string{"number": "", "commit": "", "repo": "", "all": ""}, 0, version},
		"id":      {map[string]string{"peerid-base": "b58mh"}, 0, id},

		"add": {addOptions(), 0, add},
		"cat": {map[string]string{"offset": "", "length": "", "progress": ""}, 1, cat},
		"ls":  {map[string]string{"headers": "", "resolve-type": "", "size": "", "stream": "false", "long": "false"}, -1, list},

		"block/get":  {none, 1, blockGet},
		"block/put":  {map[string]string{"cid-codec": "raw dag-pb", "format": "v0 raw dag-pb protobuf", "mhtype": "sha2-256", "mhlen": "-1 32", "pin": "", "version": "0 1", "allow-big-block": "false"}, 0, blockPut},
		"block/stat": {none, 1, blockStat},
		"block/rm":   {map[string]string{"force": ""}, -1, blockRemove},

		"dag/import": {map[string]string{"pin-roots": "", "stats": "", "allow-big-block": "false", "fast-provide-root": "", "fast-provide-wait": ""}, 0, dagImport},
		"dag/export": {map[string]string{"progress": ""}, 1, dagExport},
		"dag/stat":   {map[string]string{"progress": ""}, -1, dagStat},

		"pin/add": {map[string]string{"recursive": "true", "progress": "", "name": "", "expires": "", "expires-in": "", "stream": "", "fast-provide-root": "", "fast-provide-wait": ""}, -1, pinAdd},
		"pin/ls":  {map[string]string{"type": "all recursive", "stream": "", "names": "", "name": "", "paths": ""}, anyArgs, pinList},
		"pin/rm":  {map[string]string{"recursive": "true", "name": "", "stream": ""}, -1, pinRemove},

		"repo/stat": {map[string]string{"size-only": "false"}, 0, repoStat},
		"repo/gc":   {map[string]string{"stream-errors": ""}, 0, repoGC},

		"swarm/peers":   {map[string]string{"v": "", "streams": "", "latency": "", "direction": "", "identify": "false"}, 0, swarmPeers},
		"swarm/connect": {none, -1, swarmConnect},
	}
}
