// What Nextflow makes of a process: prints its commands, the files it promises, and what the config says on failure.
// groovy nextflow_process.groovy MODULE CONFIG GIVEN   where GIVEN is JSON: what the process is given, by name
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

def (module, config, given) = args
def text = new File(module).text

def section = { name ->
    def found = text =~ /(?ms)^    ${name}:\n(.*?)(?=^    \w+:\n|^\})/
    assert found: "$module has no $name"
    found[0][1]
}

def result = ['script', 'stub'].collectEntries { name ->
    def promised = []
    def said = new JsonSlurper().parseText(given) + [
        val: { it }, tuple: { Object... parts -> parts },
        path: { Object... parts -> promised << parts.last().toString() },
    ] + text.findAll(/emit: (\w+)/) { it[1] }.collectEntries { [it, it] }
    def shell = new GroovyShell(new Binding(said))
    def command = shell.evaluate(section(name)).toString().stripIndent()
    shell.evaluate(section('output'))
    [name, [command: command, promised: promised]]
}

Integer.metaClass.getGB = { -> "$delegate GB" }
Integer.metaClass.getH = { -> delegate }
def settings = new ConfigSlurper().parse(new File(config).text).process.WSISEG_RUN
def strategy = settings.errorStrategy
strategy.resolveStrategy = Closure.DELEGATE_FIRST
result.strategy = [1, 2, 3, 4, 5, 6, 137, 143].collectEntries { status ->
    strategy.delegate = [task: [exitStatus: status]]
    [status.toString(), strategy()]
}
println JsonOutput.toJson(result)
